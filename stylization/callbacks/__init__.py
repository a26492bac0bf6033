"""What a person sees of a run while it goes, and what it leaves behind."""

from stylization.callbacks.profile import Profile
from stylization.callbacks.progress import ContactSheet, Progress
from stylization.callbacks.records import Metrics, Skipped
from stylization.callbacks.remote import Wandb
from stylization.callbacks.signals import Signals
from stylization.callbacks.summary import Summary

__all__ = ["ContactSheet", "Metrics", "Profile", "Progress", "Signals", "Skipped", "Summary", "Wandb"]
