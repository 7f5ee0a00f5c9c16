"""agentopt.sandbox"""
