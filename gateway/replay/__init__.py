"""`homeward replay`: a history in a CSV file goes through admission, journal and watch, in the order it arrived."""
