# A session with git-cola: what its buttons and menus do is done, one after the other, in its window.
#
# usage: python3 git_cola.py BRANCH
#
# Stages everything and commits it, switches to BRANCH, merges the branch it came from, has the merge tool
# solve the conflict, commits the merge. Ends with 1, and says why, where something does not come to pass.
# With DITS_TEST_PICTURES=FOLDER in the environment it leaves pictures of the window there.

import os
import sys
import time

from cola import app, cmds
from cola.interaction import Interaction
from cola.main import main
from qtpy import QtCore, QtWidgets

BRANCH = sys.argv.pop()
DEADLINE = time.monotonic() + 60


def give_up(why):
    print(why, file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def session(context, window):
    """Each `yield` is a condition that is waited for."""
    model = context.model
    window.resize(1000, 680)
    yield lambda: model.modified
    cmds.do(cmds.Stage, context, model.modified + model.untracked)
    yield lambda: len(model.staged) == 3 and not model.modified
    picture(window, "git-cola-staged")
    cmds.do(cmds.Commit, context, False, "The second take\n", False)
    yield lambda: not model.staged

    came_from = model.currentbranch
    cmds.do(cmds.CheckoutBranch, context, BRANCH)
    yield lambda: model.currentbranch == BRANCH
    cmds.do(cmds.Merge, context, came_from, False, False, False, False)
    yield lambda: model.unmerged
    picture(window, "git-cola-conflict")
    # Its menu starts `git mergetool` in a terminal.
    for path in model.unmerged:
        context.git.mergetool("--no-prompt", "--", path)
    cmds.do(cmds.Rescan, context)
    yield lambda: not model.unmerged
    cmds.do(cmds.Commit, context, False, "Both\n", False)
    yield lambda: not model.staged and not model.is_merging


def picture(window, name):
    if folder := os.environ.get("DITS_TEST_PICTURES"):
        QtWidgets.QApplication.processEvents()
        window.grab().save(f"{folder}/{name}.png")


def drive(context, window):
    steps = session(context, window)
    waits_for = [lambda: True]

    def go_on():
        if time.monotonic() > DEADLINE:
            give_up(f"not in time: step {len(waits_for)}, {context.model.staged} {context.model.modified}")
        if not waits_for[-1]():
            return
        try:
            waits_for.append(next(steps))
        except StopIteration:
            sys.stdout.flush()
            os._exit(0)

    timer = QtCore.QTimer(window)
    timer.timeout.connect(go_on)
    timer.start(20)


def started(context, window):
    real_start(context, window)
    drive(context, window)


sys.excepthook = lambda *error: give_up(error)
# A merge that stops at a conflict is no failure; its window would wait for a click.
Interaction.command = staticmethod(lambda *_args, **_more: None)
Interaction.critical = staticmethod(lambda *said, **more: give_up((said, more)))
real_start = app.default_start
app.default_start = started
sys.exit(main())
