"""What talks to AWS: the account, the installation in it, its functions and stacks."""
