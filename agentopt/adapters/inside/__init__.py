"""What runs in the box, under any Python from 3.8 on and without this package: it imports the standard library only."""
