"""Networks made smaller and quicker, of which only what measured better is kept."""
