"""agentopt.scoring"""
