"""Finding nodes of one mesh on a LAN, where `meshnode up --zeroconf` asks for it."""
