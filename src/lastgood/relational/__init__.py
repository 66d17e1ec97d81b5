"""What restores of relational databases have in common: changes of rows as a server's log tells them."""
