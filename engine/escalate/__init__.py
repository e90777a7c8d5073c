"""What nobody foresaw, as an artefact: opened once for each kind of failure, answered by an agent first, closed only when the failing case passes."""
