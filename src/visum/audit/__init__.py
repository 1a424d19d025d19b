"""What a person should know about a data set before anything is trained on it: pictures that are broken, blank, blurred or
oddly sized (``quality``), copies and who they leak to (``duplicates``), labels that a cross-validated model contradicts
(``labels``), and classes that the background alone gives away (``bias``). Pure functions of one picture run once and stay in
the store; the findings are pure functions of the resulting columns. Nothing here touches the user's files."""
