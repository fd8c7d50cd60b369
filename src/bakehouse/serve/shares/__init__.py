"""What a share is made of beside its settings: its templates as visitors see them, and its visitors' prompts."""
