"""agentopt.optimizers"""
