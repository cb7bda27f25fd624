"""Quality of generated talking-head videos: what the field's metrics say of them, and how sure that is."""
