"""The paper's statements and the tests that decide them."""
