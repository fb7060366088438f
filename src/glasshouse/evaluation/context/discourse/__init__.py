"""Implicit discourse relations: how do two arguments hang together, with no word that says so?"""
