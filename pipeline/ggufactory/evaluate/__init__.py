"""How far the files of a ladder are from the model that they were made of."""
