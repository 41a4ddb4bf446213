CREATE TABLE IF NOT EXISTS people (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), picture BLOB);
DELETE FROM people;
INSERT INTO people (name, picture) VALUES ('Ada', x'00ff27'), ('Çelik', x'5c27'), ('日本', NULL);
INSERT INTO people (name) SELECT CONCAT('n', a.id, b.id, c.id) FROM people a, people b, people c;
CREATE OR REPLACE VIEW adas AS SELECT * FROM people WHERE name = 'Ada';
