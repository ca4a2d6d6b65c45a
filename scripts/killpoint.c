/* Preloaded into a process under test: dies, or fails, at the n-th change of a watched folder.
 *
 * Counts the calls that create, write, flush, rename or remove something below the folder given
 * to killpoint_arm(), whoever makes them: Python, Arrow's C++ or Java. What it does at call n:
 *   'c' nothing (counting only)
 *   'k' SIGKILL to the process group just before the call
 *   't' the same, but a write first puts down half of its bytes
 *   'e' this call and every later one that needs space fail with ENOSPC
 * (What C's stdio writes by itself, as np.save does, cannot be seen from here; its fsync can.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t folder_length;
static char mode;
static long target;
static atomic_long calls;

void killpoint_arm(const char *path, char what, long n) {
    folder_length = strlen(path);
    memcpy(folder, path, folder_length + 1);
    target = n;
    atomic_store(&calls, 0);
    mode = what;
}

long killpoint_calls(void) { return atomic_load(&calls); }

static int watched_path(int at, const char *path) {
    char link[64], full[PATH_MAX];
    if (path[0] == '/') return strncmp(path, folder, folder_length) == 0;
    if (at == AT_FDCWD) {
        if (getcwd(full, sizeof full) == NULL) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, full, sizeof full - 1);
        if (n <= 0) return 0;
        full[n] = 0;
    }
    size_t n = strlen(full);
    snprintf(full + n, sizeof full - n, "/%s", path);
    return strncmp(full, folder, folder_length) == 0;
}

static int watched_fd(int fd) {
    char link[64], full[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, full, sizeof full - 1);
    if (n <= 0) return 0;
    full[n] = 0;
    return strncmp(full, folder, folder_length) == 0;
}

/* Counts a call; 1: it shall fail for want of space, 2: write half, then die. */
static int reached(int needs_space, int tearable) {
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (mode == 'e') return needs_space && n >= target;
    if (n != target || mode == 'c') return 0;
    if (mode == 't' && tearable) return 2;
    kill(0, SIGKILL);
    for (;;) pause();
}

#define REAL(type, name, ...)                                     \
    static type (*real)(__VA_ARGS__);                             \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define FULL_DISK do { errno = ENOSPC; return -1; } while (0)

#define WRITER(name, offset_type, declare, pass)                                    \
    ssize_t name(int fd, const void *data, size_t size declare) {                   \
        REAL(ssize_t, name, int, const void *, size_t offset_type);                 \
        if (mode && watched_fd(fd)) {                                               \
            int what = reached(1, 1);                                               \
            if (what == 1) FULL_DISK;                                               \
            if (what == 2) {                                                        \
                if (real(fd, data, size / 2 pass) < 0) _exit(99);                   \
                kill(0, SIGKILL);                                                   \
                for (;;) pause();                                                   \
            }                                                                       \
        }                                                                           \
        return real(fd, data, size pass);                                           \
    }
#define NOTHING
#define COMMA ,
WRITER(write, NOTHING, NOTHING, NOTHING)
WRITER(pwrite, COMMA off_t, COMMA off_t offset, COMMA offset)
WRITER(pwrite64, COMMA off64_t, COMMA off64_t offset, COMMA offset)

ssize_t writev(int fd, const struct iovec *vector, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (mode && watched_fd(fd) && reached(1, 0)) FULL_DISK;
    return real(fd, vector, count);
}

#define OPENER(name)                                                                \
    int name(const char *path, int flags, ...) {                                    \
        REAL(int, name, const char *, int, ...);                                    \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        int bits = va_arg(rest, int);                                               \
        va_end(rest);                                                               \
        if (mode && (flags & (O_CREAT | O_TRUNC)) && watched_path(AT_FDCWD, path) &&\
            reached(1, 0)) FULL_DISK;                                               \
        return real(path, flags, bits);                                             \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                                             \
    int name(int at, const char *path, int flags, ...) {                            \
        REAL(int, name, int, const char *, int, ...);                               \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        int bits = va_arg(rest, int);                                               \
        va_end(rest);                                                               \
        if (mode && (flags & (O_CREAT | O_TRUNC)) && watched_path(at, path) &&      \
            reached(1, 0)) FULL_DISK;                                               \
        return real(at, path, flags, bits);                                         \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

#define ON_FD(name)                                                                 \
    int name(int fd) {                                                              \
        REAL(int, name, int);                                                       \
        if (mode && watched_fd(fd) && reached(1, 0)) FULL_DISK;                     \
        return real(fd);                                                            \
    }
ON_FD(fsync)
ON_FD(fdatasync)

#define TRUNCATER(name, type)                                                       \
    int name(int fd, type size) {                                                   \
        REAL(int, name, int, type);                                                 \
        if (mode && watched_fd(fd) && reached(0, 0)) FULL_DISK;                     \
        return real(fd, size);                                                      \
    }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (mode && watched_path(AT_FDCWD, to) && reached(0, 0)) FULL_DISK;
    return real(from, to);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    if (mode && watched_path(to_at, to) && reached(0, 0)) FULL_DISK;
    return real(from_at, from, to_at, to);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    if (mode && watched_path(AT_FDCWD, to) && reached(1, 0)) FULL_DISK;
    return real(from, to);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    if (mode && watched_path(to_at, to) && reached(1, 0)) FULL_DISK;
    return real(from_at, from, to_at, to, flags);
}

int mkdir(const char *path, mode_t bits) {
    REAL(int, mkdir, const char *, mode_t);
    if (mode && watched_path(AT_FDCWD, path) && reached(1, 0)) FULL_DISK;
    return real(path, bits);
}

#define REMOVER(name)                                                               \
    int name(const char *path) {                                                    \
        REAL(int, name, const char *);                                              \
        if (mode && watched_path(AT_FDCWD, path) && reached(0, 0)) FULL_DISK;       \
        return real(path);                                                          \
    }
REMOVER(unlink)
REMOVER(rmdir)

int unlinkat(int at, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    if (mode && watched_path(at, path) && reached(0, 0)) FULL_DISK;
    return real(at, path, flags);
}
