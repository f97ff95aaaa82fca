"""Floor 6: what the user types, what he is told, and the process that stays behind.

May know every floor; knows only `fuse.session.serve` of those above the settings. Nothing imports from here.
"""
