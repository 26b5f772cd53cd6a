"""Where a step image begins: its entry point runs this file, which finds its modules beside itself.

The interpreter is started with nothing of the step's on its path (`-I -S`), so that no package of the step can get in
the way of this program, and this program not in the step's.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from repro_env.verify.start import prepare

if __name__ == "__main__":
    prepare()
    from repro_env.verify.entry import main

    main(sys.argv[1:], os.environ)
