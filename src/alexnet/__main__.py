"""python -m alexnet."""

from alexnet.cli import main

if __name__ == "__main__":
    main()
