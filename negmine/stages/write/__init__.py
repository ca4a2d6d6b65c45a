"""``negmine write``: texts that no corpus holds, as documents beside it or as a training set.

``setup`` checks what is asked and plans it, ``cases`` reads for what is written, ``minimal_pairs``
writes by rule, ``by_model`` has a model write, ``distinct`` leaves out what is there already,
``verifying`` what a scorer refuses, ``run`` does all of it and writes documents, ``training_sets``
writes queries and instructions.
"""

from negmine.stages.write.run import run
from negmine.stages.write.setup import Readers, Setup, plan, set_up

__all__ = ["Readers", "Setup", "plan", "run", "set_up"]
