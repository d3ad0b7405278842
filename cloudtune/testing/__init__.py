"""Stand-ins that behave, contracts that every adapter must pass, and the crash laboratory.

For the tests of cloudtune, and for yours if you write a scheduler, a backend or a store.
"""
