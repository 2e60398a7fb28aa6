"""`alexnet` with the tiny network of these tests: python -m faults.command train …"""

from alexnet.cli import main
from alexnet.network import dialects
from faults.stages import tiny

if __name__ == "__main__":
    dialects.DIALECTS["tiny"] = tiny
    main()
