"""Mutation testing: do the unit tests notice when what matters most is wrong?"""
