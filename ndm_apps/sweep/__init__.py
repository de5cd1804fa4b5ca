"""Many runs: tasks x settings x methods x seeds, each in its own folder, several at a time, here or on a cluster."""

from ndm_apps.sweep.delivery import send
from ndm_apps.sweep.drive import Progress, sweep
from ndm_apps.sweep.members import Member, members
from ndm_apps.sweep.searching import plan_search, search
from ndm_apps.sweep.worker import Outcome

__all__ = ["Member", "Outcome", "Progress", "members", "plan_search", "search", "send", "sweep"]
