"""Why a row that a migration changed is not put back, in the words of the list."""

CHANGED = "it was changed since"
GONE = "it was deleted since"
TAKEN = "a row with its key is there"
REFERRED = "other rows refer to it"
NO_TABLE = "its table is not there any more"
NO_COLUMN = "a column that was changed is not there any more"
