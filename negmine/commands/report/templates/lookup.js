"use strict";
// Looks up queries in the data that the page carries. Texts are only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("lookup");
  const search = document.getElementById("search");
  const short = document.getElementById("only-short");
  const count = document.getElementById("found");
  const list = document.getElementById("results");
  const view = document.getElementById("query");
  const MOST = 30;
  const HASH = /^#query-(\d+)$/;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const named = (shown, whole) => {
    const element = make("span", "id", shown);
    if (whole) element.title = whole;
    return element;
  };
  const shownNumber = (value) =>
    value === null ? "–" : String(value).replace("-", "−");

  const queries = data.queries.map(
    ([shown, whole, text, command, chosen, candidates, rows], number) => ({
      number, shown, whole, text, command, chosen, candidates, rows,
      searched: `${shown} ${whole} ${text}`.toLowerCase(),
      short: chosen < data.wanted,
    })
  );

  const copyable = (code) => {
    const button = make("button", "copy-button", "copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      const selection = window.getSelection();
      selection.selectAllChildren(code);
      let told = "press Ctrl+C";
      try {
        await navigator.clipboard.writeText(code.textContent);
        told = "copied";
      } catch (refused) {
        // Some browsers keep the clipboard from local files: the command is selected.
      }
      button.textContent = told;
      window.setTimeout(() => { button.textContent = "copy"; }, 2000);
    });
    code.after(" ", button);
  };

  const opener = (query, text) => {
    const link = make("a", "", text);
    link.href = `#query-${query.number}`;
    return link;
  };

  const results = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = queries.filter(
      (query) =>
        (!short.checked || query.short) && words.every((word) => query.searched.includes(word))
    );
    const all = found.length > MOST ? `, the first ${MOST} shown` : "";
    count.textContent = `${found.length} of ${queries.length} found${all}`;
    list.replaceChildren(
      ...found.slice(0, MOST).map((query) => {
        const item = make("li");
        const link = opener(query, query.text || query.shown);
        link.dir = "auto";
        const told = make("span", "tag", `${query.chosen} chosen of ${query.candidates} rows`);
        item.append(link, " ", told);
        return item;
      })
    );
  };

  const fateOf = (row) => {
    const [, fate, rule] = row;
    if (data.fates[fate] === "selected") return "chosen";
    if (data.fates[fate] === "survived") return "survived, not chosen";
    return data.fates[fate] === "dropped" ? `dropped: ${rule}` : "known positive";
  };

  const table = (query) => {
    const body = make("tbody");
    query.rows.forEach((row, place) => {
      const [number, fate, rule, scores, ranks] = row;
      const [shown, whole, text] = data.documents[number];
      const line = make("tr", `fate-${data.fates[fate]}`);
      line.append(make("td", "n", String(place + 1)));
      const became = make("td", "fate");
      const anchor = rule && document.getElementById(`read-${rule}`);
      const told = anchor ? make("a", "", fateOf(row)) : make("span", "", fateOf(row));
      if (anchor) told.href = `#read-${rule}`;
      became.append(told);
      line.append(became);
      const cell = make("td", "told");
      const words = make("span", "", text);
      words.dir = "auto";
      cell.append(named(shown, whole), " ", words);
      line.append(cell);
      scores.forEach((score, at) =>
        line.append(make("td", at === data.by ? "n by" : "n", shownNumber(score)))
      );
      ranks.forEach((rank) => line.append(make("td", "n", shownNumber(rank))));
      body.append(line);
    });
    const head = make("tr");
    const heading = (text, className) => {
      const cell = make("th", className, text);
      cell.scope = "col";
      head.append(cell);
    };
    heading("#", "n");
    heading("what became of it", "");
    heading("document", "");
    data.scores.forEach((name, at) => heading(`score ${name}`, at === data.by ? "n by" : "n"));
    data.sources.forEach((name) => heading(`rank ${name}`, "n"));
    const heads = make("thead");
    heads.append(head);
    const whole = make("table", "candidates");
    whole.append(heads, body);
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "group");
    scroll.setAttribute("aria-label", "candidates of the query");
    scroll.append(whole);
    return scroll;
  };

  const show = (query) => {
    const head = make("div", "q");
    const tag = make("p", "tag", "query ");
    tag.append(
      named(query.shown, query.whole),
      ` · ${query.chosen} chosen, ${data.wanted} wanted · ${query.candidates} rows`,
      query.rows.length < query.candidates ? `, ${query.rows.length} shown` : ""
    );
    head.append(tag);
    const text = make("p", "text", query.text);
    text.dir = "auto";
    if (query.text) head.append(text);
    if (query.command) {
      const line = make("p", "tag");
      const code = make("code", "copy", query.command);
      line.append(code);
      copyable(code);
      head.append(line);
    }
    view.replaceChildren(head, table(query));
    view.hidden = false;
  };

  const follow = () => {
    const asked = HASH.exec(window.location.hash);
    const query = asked && queries[Number(asked[1])];
    if (!query) return;
    show(query);
    view.scrollIntoView();
    view.focus({ preventScroll: true });
  };

  for (const code of document.querySelectorAll("code.copy")) copyable(code);
  for (const element of document.querySelectorAll("[data-query]")) {
    const query = queries[Number(element.dataset.query)];
    const link = opener(query, "all candidates");
    link.className = "opener";
    element.after(" ", link);
  }
  search.addEventListener("input", results);
  short.addEventListener("change", results);
  window.addEventListener("hashchange", follow);
  document.getElementById("no-script").hidden = true;
  box.hidden = false;
  results();
  follow();
})();
