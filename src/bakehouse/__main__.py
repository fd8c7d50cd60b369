"""`python -m bakehouse`: the command line where the script is not on the path."""

from bakehouse.cli.main import main

if __name__ == "__main__":
    main()
