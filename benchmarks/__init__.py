"""How fast and how frugal Homeward is, beside a floor and its peers, on the machine at hand: `make bench`."""
