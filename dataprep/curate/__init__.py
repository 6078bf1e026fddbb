"""What people do to captions and decisions between runs, and how none of it is lost."""
