"""The job: from a URL to a verified file; `agent.py` tells it on one page."""
