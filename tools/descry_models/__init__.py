"""Training, export and scoring of descry's model folders. Never needed to run descry."""
