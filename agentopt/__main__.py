"""``python -m agentopt``"""

from __future__ import annotations

from agentopt.cli import main

if __name__ == "__main__":
    main()
