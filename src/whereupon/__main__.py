"""`python -m whereupon` is the command `whereupon`."""

from whereupon.cli import main

if __name__ == "__main__":
    main()
