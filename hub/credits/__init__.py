"""Service credits: from what was promised and missed to a decided, approved amount."""
