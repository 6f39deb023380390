"""Links to the outside: radio, broker, listener. They deliver packets stamped with their arrival."""
