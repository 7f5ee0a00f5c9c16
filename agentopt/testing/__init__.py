"""agentopt.testing"""
