"""Experiments on crumb: does a trigger absorb what `bakehouse triggers explain` predicts?"""
