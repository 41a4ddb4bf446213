# Waits until the container answers, and prints what it says, its id, since when it runs, and the data of its folder and volume.
for second in $(seq 60); do
  systemctl is-active --quiet container-demo.service && break
  sleep 0.5
done
curl --silent --fail --retry 20 --retry-all-errors --retry-delay 1 http://127.0.0.1:8080/
docker inspect --format '{{.Id}}' demo
docker inspect --format '{{.State.StartedAt}}' demo
cat /srv/demo/kept /var/lib/docker/volumes/demo-cache/_data/kept
systemctl is-active container-demo.service
