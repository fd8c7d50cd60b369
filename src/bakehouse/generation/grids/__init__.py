"""Grids: images that differ in one to three settings, as a sheet like A1111's X/Y/Z plot and as a page in HTML."""
