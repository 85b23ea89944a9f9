"""Packages, trees and restarts: the agent, and the commands that people use."""
