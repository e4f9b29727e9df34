"""Commands for those who work on judgefree; nothing of the system imports them."""
