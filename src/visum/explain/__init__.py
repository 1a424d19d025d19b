"""Why a model says what it says: maps over a picture, from a model's answers alone. Pure functions of arrays."""
