import sys

from cloudtune.cli import main

if __name__ == "__main__":
    sys.exit(main())
