"""What Stripe shows, kept on our side: raw pages, typed Parquet by object, account and day, and tables derived from both."""
