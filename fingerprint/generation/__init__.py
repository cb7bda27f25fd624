"""Quality of generated talking-head video: how good is the avatar, beside how much of its driver shows."""
