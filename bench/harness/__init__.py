"""What all scripts share: a fresh process for each case, its peak, least/median/most, and the file of results."""
