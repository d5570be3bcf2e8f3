"""Everything a person looks at, as pure functions of records: no torch, no Ray, no MLflow."""
