"""How fast and frugal Homeward is beside a floor and its peers (`make bench`), and what it finds (`make score`)."""
