"""A local page, and a small HTTP API, for trained models."""

from stylization.serve.app import application
from stylization.serve.models import Model
from stylization.serve.queue import Limits
from stylization.serve.server import configured, listening, serve

__all__ = ["Limits", "Model", "application", "configured", "listening", "serve"]
