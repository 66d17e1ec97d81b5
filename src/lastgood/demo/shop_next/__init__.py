"""The modules that release 2 of the shop brings; everything else is release 1's."""
